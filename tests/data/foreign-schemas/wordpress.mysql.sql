CREATE TABLE wp_users (
    ID bigint(20) unsigned NOT NULL auto_increment,
    user_login varchar(60) NOT NULL default '',
    user_pass varchar(255) NOT NULL default '',
    user_nicename varchar(50) NOT NULL default '',
    user_email varchar(100) NOT NULL default '',
    user_url varchar(100) NOT NULL default '',
    user_registered datetime NOT NULL default '0000-00-00 00:00:00',
    user_activation_key varchar(255) NOT NULL default '',
    user_status int(11) NOT NULL default '0',
    display_name varchar(250) NOT NULL default '',
    PRIMARY KEY (ID),
    KEY user_login_key (user_login),
    KEY user_nicename (user_nicename),
    KEY user_email (user_email)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_ci;
SET SESSION sql_mode = '';
INSERT INTO wp_users (user_login, user_pass, user_nicename, user_email, user_registered,
        display_name)
    VALUES ('jane', '{hash}', 'jane', 'Jane@example.com', '2024-02-29 12:00', 'Jane'),
           ('twin', '{hash}', 'twin', 'JANE@example.com', '2024-02-29 12:00', 'Jane again'),
           ('zero', '{hash}', 'zero', 'zero@example.com', '0000-00-00 00:00:00', 'Zero'),
           ('none', '{hash}', 'none', '', '2024-02-29 12:00', 'Without an address');
