-- The whole store. A position is never used twice; (sid, rev) is the last guard against a wrong head in memory.
begin immediate;
create table streams (
  sid        integer primary key autoincrement, -- never used twice, because readers remember it
  name       text    not null unique,
  head       integer not null, -- newest revision, -1 before the first event
  tombstoned integer not null default 0,
  before_rev integer not null default 0, -- $tb: revisions below are hidden
  max_count  integer not null default 0, -- $maxCount, 0 for none
  max_age    integer not null default 0  -- $maxAge in seconds, 0 for none
);
create table events (
  pos     integer primary key,
  sid     integer not null,
  rev     integer not null,
  id      blob    not null,
  type    text    not null,
  json    integer not null,
  created integer not null, -- 100 ns since 1970
  data    blob    not null,
  meta    blob    not null
);
create unique index events_by_stream on events (sid, rev);
create table archives ( -- files that hold the lasting events of a range of positions, which are no longer here
  name   text    primary key,
  first  integer not null, -- of the range; the one before ends just below it
  last   integer not null, -- the newest event in the file
  events integer not null,
  bytes  integer not null,
  sha256 blob    not null
);
pragma user_version = 1;
commit;
