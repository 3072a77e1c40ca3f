
# A misspelled mailbox, or the wrong organization, is found before the first change.
foreach ($mailbox in $mailboxes) {
    Get-CASMailbox -Identity $mailbox | Out-Null
}
