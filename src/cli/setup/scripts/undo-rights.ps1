if ($known) {
    $names = @("$($known.Identity)", "$($known.Name)", "$($known.ObjectId)", "$($known.DisplayName)").Where({ $_ })
    foreach ($mailbox in $mailboxes) {
        if (@(Get-MailboxPermission -Identity $mailbox).Where({ $names -contains "$($_.User)" -and "$($_.AccessRights)" -match 'FullAccess' })) {
            Remove-MailboxPermission -Identity $mailbox -User $known.Identity -AccessRights FullAccess -Confirm:$false
            "removed: Full Access to $mailbox"
        }
        if (@(Get-RecipientPermission -Identity $mailbox).Where({ $names -contains "$($_.Trustee)" -and "$($_.AccessRights)" -match 'SendAs' })) {
            Remove-RecipientPermission -Identity $mailbox -Trustee $known.Identity -AccessRights SendAs -Confirm:$false
            "removed: SendAs for $mailbox"
        }
    }
}
