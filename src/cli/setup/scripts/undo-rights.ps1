if ($known) {
    foreach ($mailbox in $mailboxes.Where({ Get-CASMailbox -Identity $_ -ErrorAction SilentlyContinue })) {
        if (Test-Created "Full Access to $mailbox") {
            Remove-MailboxPermission -Identity $mailbox -User $known.Identity -AccessRights FullAccess -Confirm:$false
            "removed: Full Access to $mailbox"
        }
        if (Test-Created "SendAs for $mailbox") {
            Remove-RecipientPermission -Identity $mailbox -Trustee $known.Identity -AccessRights SendAs -Confirm:$false
            "removed: SendAs for $mailbox"
        }
    }
}
