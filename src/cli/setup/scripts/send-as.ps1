
foreach ($mailbox in $mailboxes) {
    if (@(Get-RecipientPermission -Identity $mailbox).Where({ $names -contains "$($_.Trustee)" -and "$($_.AccessRights)" -match 'SendAs' })) {
        "kept: SendAs for $mailbox"
    } else {
        Add-RecipientPermission -Identity $mailbox -Trustee $known.Identity -AccessRights SendAs -Confirm:$false | Out-Null
        "created: SendAs for $mailbox"
    }
}
