# Created by `gatepost setup`. Removes from the tenant what the script for Gatepost has created. tenant-setup.ps1 is the reverse.
# Modules: Microsoft.Graph.Authentication, ExchangeOnlineManagement (Install-Module gets them).
# Roles: Cloud Application Administrator or Privileged Role Administrator, Exchange Administrator, Organization Management.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'

$tenant = 'contoso.com'
$graphEnvironment = 'Global'
$graphScopes = @('Application.ReadWrite.All')
$clientId = ''
$findApplication = 'applications?$filter=displayName%20eq%20%27Gatepost%27&$select=id,appId,displayName,tags,isFallbackPublicClient'
$applicationJson = '{"displayName":"Gatepost","isFallbackPublicClient":false,"requiredResourceAccess":[],"signInAudience":"AzureADMyOrg","tags":["gatepost-setup"]}'
$isPublic = $false
$certificate = 'CERTIFICATE'
$certificateJson = '{"displayName":"gatepost setup","key":"CERTIFICATE","type":"AsymmetricX509Cert","usage":"Verify"}'
$apis = @()
$permissions = @()
$unwanted = @(
    @{ Value = 'SMTP.SendAsApp'; Id = '7146a1f0-8703-45b3-9eae-527a64c00995'; Harm = 'with which Exchange does not use the role for sending' },
    @{ Value = 'full_access_as_app'; Id = 'dc890d15-9560-4a4c-9b7f-a736ec74ec40'; Harm = 'which opens all mailboxes' },
    @{ Value = 'Mail.Send'; Id = 'b633e1c5-b582-4048-a93e-9f11b44c7e96'; Harm = 'which opens all mailboxes' },
    @{ Value = 'Mail.ReadWrite'; Id = 'e2a3a72e-5f79-4c64-b1b1-878b674786c9'; Harm = 'which opens all mailboxes' },
    @{ Value = 'Mail.Read'; Id = '810c84a8-4a9e-49e6-bf7d-12d183f40d01'; Harm = 'which opens all mailboxes' }
)
$name = 'Gatepost'
$mailboxes = @(
    'scan@contoso.com',
    'o''neil@contoso.com'
)
$protocols = @('smtp')
$groupName = 'Gatepost mailboxes'
$scopeName = 'Gatepost scope'
$roles = @(
    @{ Role = 'Application SMTP.SendAsApp'; Name = 'Gatepost SMTP.SendAsApp' }
)

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

# ---- Exchange Online ----

Connect-ExchangeOnline

if ($clientId) {
    $known = @(@(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId }))[0]
}
foreach ($role in $roles) {
    $assignmentName = $role.Name
    if (@(Get-ManagementRoleAssignment -Identity $assignmentName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $assignmentName })) {
        Remove-ManagementRoleAssignment -Identity $assignmentName -Confirm:$false
        "removed: the role $($role.Role)"
    }
}
if (@(Get-ManagementScope -Identity $scopeName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $scopeName })) {
    Remove-ManagementScope -Identity $scopeName -Confirm:$false
    "removed: the scope $scopeName"
}
foreach ($group in @(Get-DistributionGroup -Identity $groupName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $groupName })) {
    $members = @(Get-DistributionGroupMember -Identity $group.DistinguishedName -ResultSize Unlimited)
    if ($members.Where({ $mailboxes -notcontains "$($_.PrimarySmtpAddress)" })) {
        "note: the group $groupName stays, because it has other members as well"
    } else {
        Remove-DistributionGroup -Identity $group.DistinguishedName -Confirm:$false
        "removed: the group $groupName"
    }
}
if ($known) {
    Remove-ServicePrincipal -Identity $known.ObjectId -Confirm:$false
    'removed: the service principal in Exchange'
}

if (-not $application) {
    'note: the application does not exist'
} elseif ($application.tags -contains 'gatepost-setup') {
    Invoke-MgGraphRequest -Method DELETE -Uri "v1.0/applications/$($application.id)"
    "removed: the application $($application.appId), with its service principal and consent"
} else {
    "note: the application $($application.appId) stays, because gatepost setup did not create it. Look at its certificates and permissions."
}
'note: the protocols of the mailboxes stay switched on, because other programs may use them. Set-CASMailbox switches them off.'
