
# A misspelled mailbox is found before the first change.
$distinguishedNames = @{}
foreach ($mailbox in $mailboxes) {
    $distinguishedNames[$mailbox] = (Get-CASMailbox -Identity $mailbox).DistinguishedName
}
