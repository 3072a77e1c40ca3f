# Created by `gatepost setup`. Sets up Exchange Online for Gatepost. exchange-undo.ps1 is the reverse.
# Module: ExchangeOnlineManagement (Install-Module gets it).
# Roles: Exchange Administrator.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'
# Commands of modules do not see that variable, but this default reaches them.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }

$tenant = 'contoso.com'
$recordName = 'exchange-created.txt'
$name = 'Gatepost'
$mailboxes = @(
    'anna@contoso.com'
)
$protocols = @('imap')

# What is created is noted in a file beside this script, so that the reverse removes nothing else. Keep it.
$record = Join-Path -Path $PSScriptRoot -ChildPath $recordName

function Add-Created([string] $What) {
    Add-Content -LiteralPath $record -Value "$clientId $What" -Encoding UTF8
    "created: $What"
}

# ---- Exchange Online ----

Connect-ExchangeOnline

$organization = "$((Get-AcceptedDomain).DomainName)".Split(' ') + "$(@(Get-ConnectionInformation)[-1].TenantID)"
if ($organization -notcontains $tenant) {
    throw "Exchange Online is signed in at another organization than $tenant. Run Disconnect-ExchangeOnline, then this script again."
}

# A misspelled mailbox is found before the first change.
$distinguishedNames = @{}
foreach ($mailbox in $mailboxes) {
    $distinguishedNames[$mailbox] = (Get-CASMailbox -Identity $mailbox).DistinguishedName
}

foreach ($mailbox in $mailboxes) {
    $switches = Get-CASMailbox -Identity $mailbox
    if ($protocols -contains 'imap' -and -not $switches.ImapEnabled) {
        Set-CASMailbox -Identity $mailbox -ImapEnabled $true
        "changed: IMAP is on for $mailbox"
    }
    if ($protocols -contains 'pop3' -and -not $switches.PopEnabled) {
        Set-CASMailbox -Identity $mailbox -PopEnabled $true
        "changed: POP3 is on for $mailbox"
    }
    # The mailbox's own value counts. The tenant's default stays as it is.
    if ($protocols -contains 'smtp' -and $switches.SmtpClientAuthenticationDisabled -ne $false) {
        Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false
        "changed: SMTP AUTH is on for $mailbox"
    }
    if ($protocols -contains 'ews' -and -not $switches.EwsEnabled) {
        Set-CASMailbox -Identity $mailbox -EwsEnabled $true
        "changed: EWS is on for $mailbox"
    }
}

'Exchange may need up to two hours before it sees a new right. Then run gatepost doctor.'
