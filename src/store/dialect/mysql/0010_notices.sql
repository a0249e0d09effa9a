-- Security notices that were not sent yet.
CREATE TABLE IF NOT EXISTS {t}notices (
    account_id     varchar(64)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id             varchar(64)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- that of the event
    kind           varchar(64)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    email          varchar(320)  NOT NULL,
    email_key      varchar(1280) NOT NULL,
    api_keys_ended bigint,
    api_keys_kept  bigint,
    created_at     bigint        NOT NULL,
    due_at         bigint        NOT NULL, -- from then on any process may send it
    takeovers      bigint NOT NULL,
    PRIMARY KEY (account_id, id),
    INDEX {p}notices_due (due_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
