
# Without Full Access an application opens no mailbox over IMAP and POP3. Exchange warns if it has it already.
foreach ($mailbox in $mailboxes) {
    Add-MailboxPermission -Identity $mailbox -User $known.Identity -AccessRights FullAccess -WarningVariable warnings -WarningAction SilentlyContinue | Out-Null
    if ($warnings) { "kept: Full Access to $mailbox" } else { Add-Created "Full Access to $mailbox" }
}
