# Created by `gatepost setup`. Removes from Exchange Online what the script for Gatepost has created. exchange-setup.ps1 is the reverse.
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

# Only what the setup script has noted in the file beside it is removed.
$record = Join-Path -Path $PSScriptRoot -ChildPath $recordName
$created = @()
if (Test-Path -LiteralPath $record) { $created = @(Get-Content -LiteralPath $record -Encoding UTF8) }

function Test-Created([string] $What) {
    if ($created -contains "$clientId $What") { return $true }
    Write-Host "note: $recordName does not have $clientId $What, so this is left as it is"
    $false
}
'note: the protocols of the mailboxes stay switched on, because other programs may use them. Set-CASMailbox switches them off.'
