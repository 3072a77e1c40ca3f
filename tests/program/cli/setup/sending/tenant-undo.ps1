# Created by `gatepost setup`. Removes from Entra what the script for Gatepost has created. tenant-setup.ps1 is the reverse.
# Module: Microsoft.Graph.Authentication (Install-Module gets it).
# Role: Cloud Application Administrator or Privileged Role Administrator.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'
# Commands of modules do not see that variable, but this default reaches them.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }

$tenant = 'contoso.com'
$recordName = 'tenant-created.txt'
$graphEnvironment = 'Global'
$graphScopes = @('Application.ReadWrite.All')
$clientId = ''
$findApplication = 'applications?$filter=displayName%20eq%20%27Gatepost%27&$select=id,appId,displayName,tags,isFallbackPublicClient'

# Only what the setup script has noted in the file beside it is removed.
$record = Join-Path -Path $PSScriptRoot -ChildPath $recordName
$created = @()
if (Test-Path -LiteralPath $record) { $created = @(Get-Content -LiteralPath $record -Encoding UTF8) }

function Test-Created([string] $What) {
    if ($created -contains "$clientId $What") { return $true }
    Write-Host "note: $recordName does not have $clientId $What, so this is left as it is"
    $false
}

# ---- Entra: the application, with its service principal and consent ----

Connect-MgGraph -TenantId $tenant -Environment $graphEnvironment -Scopes $graphScopes -NoWelcome

$applications = @((Invoke-MgGraphRequest -Method GET -Uri "v1.0/$findApplication").value)
if (-not $applications) { 'note: the application does not exist' }
foreach ($application in $applications) {
    $clientId = $application.appId
    if (Test-Created 'the application') {
        Invoke-MgGraphRequest -Method DELETE -Uri "v1.0/applications/$($application.id)"
        "removed: the application $clientId, with its service principal and consent"
    }
}
if (-not $clientId) { $clientId = 'ID' }
"Run this as well, in a new PowerShell window: ./exchange-undo.ps1 -Application $clientId (exchange-created.txt has the ID, too)"
