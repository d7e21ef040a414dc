-- The ledger: a Merkle tree per organization, and where each stream ends. One text for both engines.
-- Rows are only added, but for the sizes of trees and the ends of streams.

CREATE TABLE trees (
    organization_id TEXT    NOT NULL PRIMARY KEY,
    tree            INTEGER NOT NULL,        -- stands for the organization in the other tables
    size            BIGINT  NOT NULL,        -- leaves
    signed          BIGINT  NOT NULL         -- leaves that the newest checkpoint covers
);

-- Every checkpoint that the log gives.
CREATE TABLE notes (
    tree INTEGER NOT NULL,
    size BIGINT  NOT NULL,
    note TEXT    NOT NULL, -- as it was signed
    PRIMARY KEY (tree, size)
);

-- The signatures of witnesses on them.
CREATE TABLE cosignatures (
    tree    INTEGER NOT NULL,
    size    BIGINT  NOT NULL,
    witness TEXT    NOT NULL,
    line    TEXT    NOT NULL, -- of the note
    PRIMARY KEY (tree, size, witness)
);

CREATE TABLE leaves (
    tree     INTEGER NOT NULL,
    idx      BIGINT  NOT NULL,
    entry    BYTEA   NOT NULL, -- 32 bytes
    event_id BYTEA   NOT NULL, -- 16 bytes
    stream   INTEGER NOT NULL, -- its number in streams
    revision BIGINT  NOT NULL,
    position BIGINT  NOT NULL,
    PRIMARY KEY (tree, idx)
);

CREATE INDEX leaves_by_event ON leaves (event_id);

-- The hash of each complete tile: of 256 leaves on level 1, of 256 nodes of level 1 on level 2, and so on.
CREATE TABLE nodes (
    tree  INTEGER NOT NULL,
    level INTEGER NOT NULL,
    idx   BIGINT  NOT NULL,
    hash  BYTEA   NOT NULL,
    PRIMARY KEY (tree, level, idx)
);

CREATE TABLE streams (
    number   INTEGER NOT NULL PRIMARY KEY,
    name     TEXT    NOT NULL,
    revision BIGINT  NOT NULL, -- of the last event that was seen
    link     BYTEA   NOT NULL,
    at       BIGINT  NOT NULL  -- the time that it is signed with
);

CREATE UNIQUE INDEX streams_by_name ON streams (name);

-- Checkpoints that were signed once and that the log doesn't give any more.
CREATE TABLE conflicts (
    organization_id TEXT   NOT NULL,
    position        BIGINT NOT NULL, -- of the checkpoint's event
    size            BIGINT NOT NULL,
    reason          TEXT   NOT NULL,
    PRIMARY KEY (organization_id, position)
);
