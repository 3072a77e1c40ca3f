
# Without Full Access an application opens no mailbox over IMAP and POP3.
foreach ($mailbox in $mailboxes) {
    if (@(Get-MailboxPermission -Identity $mailbox).Where({ $names -contains "$($_.User)" -and "$($_.AccessRights)" -match 'FullAccess' })) {
        "kept: Full Access to $mailbox"
    } else {
        Add-MailboxPermission -Identity $mailbox -User $known.Identity -AccessRights FullAccess | Out-Null
        "created: Full Access to $mailbox"
    }
}
