import type { Problem, ProblemDetail } from "./schema_gen.js";

/** What went wrong, for programs. Later versions of the service may add codes. */
export type ProblemCode = Problem["code"];

/**
 * An answer that isn't a success. Branch on its code:
 *
 *     if (error instanceof ApiError && error.code === "revision_stale") …
 */
export class ApiError extends Error {
  override readonly name = "ApiError";

  /** The status of HTTP. */
  readonly status: number;

  /** Undefined if something between answered, such as a proxy. */
  readonly code: ProblemCode | undefined;

  /** The next call to make, with method and path, for people and language models. */
  readonly hint: string;

  /** The fields to correct. */
  readonly fields: readonly ProblemDetail[];

  /** The operator finds it in the log of the service. */
  readonly requestId: string | undefined;

  /** How many seconds the service asks to wait; 0: it doesn't say. */
  readonly retryAfter: number;

  /** The whole answer. */
  readonly problem: Partial<Problem>;

  constructor(status: number, problem: Partial<Problem>, headers: Headers) {
    const detail = problem.code ? problem.detail : `HTTP status ${status}, which isn't an answer of AgentKey`;
    super([detail, problem.hint].filter(Boolean).join(" "));
    this.status = status;
    this.code = problem.code;
    this.hint = problem.hint ?? "";
    this.fields = problem.details ?? [];
    this.requestId = problem.instance ?? headers.get("X-Request-Id") ?? undefined;
    this.retryAfter = Number(headers.get("Retry-After")) || 0;
    this.problem = problem;
  }
}

/** Reads an answer that isn't a success. */
export async function refusal(response: Response): Promise<ApiError> {
  const text = await response.text();
  return new ApiError(response.status, problemOf(text), response.headers);
}

/** Reads a problem; what isn't one is empty. */
export function problemOf(text: string): Partial<Problem> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
