
foreach ($mailbox in $mailboxes) {
    Add-RecipientPermission -Identity $mailbox -Trustee $known.Identity -AccessRights SendAs -Confirm:$false -WarningVariable warnings -WarningAction SilentlyContinue | Out-Null
    if ($warnings) { "kept: SendAs for $mailbox" } else { Add-Created "SendAs for $mailbox" }
}
