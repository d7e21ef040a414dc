/**
 * Calls AgentKey over HTTP, as an agent or as an admin. Paths, parameters, bodies and answers have
 * the types of the OpenAPI document.
 */
export type { Answer, Call, ListPath } from "./calls.js";
export { Client, type ClientOptions } from "./client.js";
export { ApiError, type ProblemCode } from "./errors.js";
export type { FollowOptions, LiveEvent } from "./events.js";
export type * from "./schema_gen.js";
