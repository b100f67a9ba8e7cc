import type { Migrations } from '../../store/index.ts'

export const mailboxMigrations: Migrations = {
  room: 'mailbox',
  steps: [
    `CREATE TABLE mailbox_key (
       id INTEGER PRIMARY KEY CHECK (id = 1),
       x TEXT NOT NULL,
       sealed TEXT NOT NULL
     ) STRICT;
     CREATE TABLE mailbox_used (
       peer TEXT PRIMARY KEY,
       addresses TEXT NOT NULL,
       since INTEGER NOT NULL,
       max_bytes INTEGER NOT NULL,
       -- seq of the statement that it has been told; dropped: it has yet to be told that it is no mailbox any more
       told_seq INTEGER NOT NULL,
       is_dropped INTEGER NOT NULL DEFAULT 0
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE mailbox_statement (
       peer TEXT PRIMARY KEY,
       seq INTEGER NOT NULL,
       exp INTEGER NOT NULL,
       at INTEGER NOT NULL,
       jws TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX mailbox_statement_age ON mailbox_statement (at);
     CREATE TABLE mailbox_served (
       peer TEXT PRIMARY KEY,
       max_bytes INTEGER NOT NULL,
       since INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE mailbox_item (
       n INTEGER PRIMARY KEY AUTOINCREMENT,
       recipient TEXT NOT NULL,
       depositor TEXT NOT NULL,
       bytes INTEGER NOT NULL,
       exp INTEGER NOT NULL,
       sealed TEXT NOT NULL
     ) STRICT;
     CREATE INDEX mailbox_item_recipient ON mailbox_item (recipient, n, bytes);
     CREATE INDEX mailbox_item_depositor ON mailbox_item (depositor, bytes);
     CREATE INDEX mailbox_item_due ON mailbox_item (exp, bytes);
     CREATE TABLE mailbox_deposit (
       recipient TEXT NOT NULL,
       mailbox TEXT NOT NULL,
       -- of message_out: up to here it has been deposited
       n INTEGER NOT NULL,
       since INTEGER NOT NULL,
       PRIMARY KEY (recipient, mailbox)
     ) STRICT, WITHOUT ROWID;`
  ]
}
