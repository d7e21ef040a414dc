import type { FetchResponse, MaybeOptionalInit } from "openapi-fetch";
import type { paths } from "./schema_gen.js";

export type Method = "get" | "post" | "put" | "patch" | "delete";
type PathsWith<M extends Method> = {
  [P in keyof paths]: paths[P] extends { [K in M]: unknown } ? P : never;
}[keyof paths];
export type Init<P extends keyof paths, M extends Method> = MaybeOptionalInit<paths[P], M>;
export type Optional<I> = undefined extends I ? [init?: I] : [init: I];
type Data<P extends keyof paths, M extends Method, I> = Extract<
  FetchResponse<paths[P][M] & {}, I, "application/json">,
  { error?: never }
>["data"];

/** The body of a success, and the response that it came with, such as for its ETag. */
export interface Answer<T> {
  readonly data: T;
  readonly response: Response;
}

/**
 * Makes the calls of a method. They take what openapi-fetch takes (params, body, signal, parseAs)
 * and answer a success; everything else is thrown, as an ApiError if the service refused.
 */
export type Call<M extends Method> = <P extends PathsWith<M>, I extends Init<P, M>>(
  path: P,
  ...init: Optional<I>
) => Promise<Answer<Data<P, M, I>>>;

type Listed<L> = L extends { items: (infer T)[] } | { tools: (infer T)[] } ? T : never;

/** What a list has; never where a path answers none. */
export type Item<P extends keyof paths> = paths[P] extends {
  get: { responses: { 200: { content: { "application/json": infer L } } } };
}
  ? Listed<L>
  : never;

/** The paths that answer lists. */
export type ListPath = { [P in PathsWith<"get">]: [Item<P>] extends [never] ? never : P }[PathsWith<"get">];
