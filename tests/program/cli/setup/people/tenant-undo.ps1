# Created by `gatepost setup`. Removes from the tenant what the script for Gatepost has created. tenant-setup.ps1 is the reverse.
# Modules: Microsoft.Graph.Authentication, ExchangeOnlineManagement (Install-Module gets them).
# Roles: Cloud Application Administrator or Privileged Role Administrator, Exchange Administrator.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'

$tenant = 'contoso.com'
$graphEnvironment = 'Global'
$graphScopes = @('Application.ReadWrite.All', 'DelegatedPermissionGrant.ReadWrite.All')
$clientId = ''
$findApplication = 'applications?$filter=displayName%20eq%20%27Gatepost%27&$select=id,appId,displayName,tags,isFallbackPublicClient'
$applicationJson = '{"displayName":"Gatepost","isFallbackPublicClient":true,"requiredResourceAccess":[{"resourceAccess":[{"id":"195adc35-e27b-454b-a7ed-1ecdffa1c09f","type":"Scope"}],"resourceAppId":"00000002-0000-0ff1-ce00-000000000000"},{"resourceAccess":[{"id":"e383f46e-2787-4529-855e-0e479a3ffac0","type":"Scope"},{"id":"024d486e-b451-40bb-833d-3e66d98c5c73","type":"Scope"},{"id":"7427e0e9-2fba-42fe-b0c0-848c9e6a8182","type":"Scope"}],"resourceAppId":"00000003-0000-0000-c000-000000000000"}],"signInAudience":"AzureADMyOrg","tags":["gatepost-setup"]}'
$isPublic = $true
$certificate = ''
$certificateJson = ''
$apis = @(
    @{ AppId = '00000002-0000-0ff1-ce00-000000000000'; Scopes = 'IMAP.AccessAsUser.All' },
    @{ AppId = '00000003-0000-0000-c000-000000000000'; Scopes = 'Mail.Send Mail.ReadWrite offline_access' }
)
$permissions = @(
    @{ AppId = '00000002-0000-0ff1-ce00-000000000000'; Kind = 'Scope'; Value = 'IMAP.AccessAsUser.All'; Id = '195adc35-e27b-454b-a7ed-1ecdffa1c09f' },
    @{ AppId = '00000003-0000-0000-c000-000000000000'; Kind = 'Scope'; Value = 'Mail.Send'; Id = 'e383f46e-2787-4529-855e-0e479a3ffac0' },
    @{ AppId = '00000003-0000-0000-c000-000000000000'; Kind = 'Scope'; Value = 'Mail.ReadWrite'; Id = '024d486e-b451-40bb-833d-3e66d98c5c73' },
    @{ AppId = '00000003-0000-0000-c000-000000000000'; Kind = 'Scope'; Value = 'offline_access'; Id = '7427e0e9-2fba-42fe-b0c0-848c9e6a8182' }
)
$unwanted = @()
$name = 'Gatepost'
$mailboxes = @(
    'anna@contoso.com'
)
$protocols = @('imap')

# ---- Entra: the application, its certificate, its service principal, and consent ----

function Read-Graph([string] $Path) {
    Invoke-MgGraphRequest -Method GET -Uri "v1.0/$Path"
}

function Write-Graph([string] $Method, [string] $Path, [string] $Json) {
    Invoke-MgGraphRequest -Method $Method -Uri "v1.0/$Path" -Body $Json -ContentType 'application/json'
}

function Find-Application {
    $found = @((Read-Graph $findApplication).value)
    if (-not $clientId -and @($found.Where({ $_.tags -notcontains 'gatepost-setup' }))) {
        throw "An application of this name exists that gatepost setup did not create. Choose another --name, or name it with --client-id."
    }
    if ($found.Count -gt 1) {
        throw 'There are several applications of this name. Choose one with --client-id.'
    }
    if ($clientId -and -not $found) {
        throw "The tenant has no application $clientId."
    }
    $found
}

function Get-Principal([string] $AppId) {
    @((Read-Graph ('servicePrincipals?$filter=appId%20eq%20%27' + $AppId + '%27')).value)
}

Connect-MgGraph -TenantId $tenant -Environment $graphEnvironment -Scopes $graphScopes -NoWelcome

$application = Find-Application
if ($application) { $clientId = $application.appId }

if (-not $application) {
    'note: the application does not exist'
} elseif ($application.tags -contains 'gatepost-setup') {
    Invoke-MgGraphRequest -Method DELETE -Uri "v1.0/applications/$($application.id)"
    "removed: the application $($application.appId), with its service principal and consent"
} else {
    "note: the application $($application.appId) stays, because gatepost setup did not create it. Look at its certificates and permissions."
}
'note: the protocols of the mailboxes stay switched on, because other programs may use them. Set-CASMailbox switches them off.'
