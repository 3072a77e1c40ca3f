# Created by `gatepost setup`. Removes from Exchange Online what the script for Gatepost has created. exchange-setup.ps1 is the reverse.
param([Parameter(Mandatory)] [guid] $Application)
# Module: ExchangeOnlineManagement (Install-Module gets it).
# Roles: Exchange Administrator, Organization Management.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'
# Commands of modules do not see that variable, but this default reaches them.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }

$clientId = $Application.ToString()
$tenant = 'contoso.com'
$recordName = 'exchange-created.txt'
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

# Only what the setup script has noted in the file beside it is removed.
$record = Join-Path -Path $PSScriptRoot -ChildPath $recordName
$created = @()
if (Test-Path -LiteralPath $record) { $created = @(Get-Content -LiteralPath $record -Encoding UTF8) }

function Test-Created([string] $What) {
    if ($created -contains "$clientId $What") { return $true }
    Write-Host "note: $recordName does not have $clientId $What, so this is left as it is"
    $false
}

# ---- Exchange Online ----

Connect-ExchangeOnline

$organization = "$((Get-AcceptedDomain).DomainName)".Split(' ') + "$(@(Get-ConnectionInformation)[-1].TenantID)"
if ($organization -notcontains $tenant) {
    throw "Exchange Online is signed in at another organization than $tenant. Run Disconnect-ExchangeOnline, then this script again."
}

$known = @(@(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId }))[0]
foreach ($role in $roles) {
    $assignmentName = $role.Name
    foreach ($assignment in @(Get-ManagementRoleAssignment -Identity $assignmentName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $assignmentName })) {
        if (Test-Created "the role $($role.Role) ($($assignment.Guid))") {
            Remove-ManagementRoleAssignment -Identity $assignmentName -Confirm:$false
            "removed: the role $($role.Role)"
        }
    }
}
foreach ($scope in @(Get-ManagementScope -Identity $scopeName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $scopeName })) {
    if (Test-Created "the scope $scopeName ($($scope.Guid))") {
        Remove-ManagementScope -Identity $scopeName -Confirm:$false
        "removed: the scope $scopeName"
    }
}
foreach ($group in @(Get-DistributionGroup -Identity $groupName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $groupName })) {
    $members = @(Get-DistributionGroupMember -Identity $group.DistinguishedName -ResultSize Unlimited)
    foreach ($mailbox in $mailboxes) {
        $member = (Get-CASMailbox -Identity $mailbox -ErrorAction SilentlyContinue).DistinguishedName
        if ($members.DistinguishedName -contains $member -and (Test-Created "$mailbox in the group")) {
            Remove-DistributionGroupMember -Identity $group.DistinguishedName -Member $member -Confirm:$false
            "removed: $mailbox from the group"
            $members = @($members.Where({ $_.DistinguishedName -ne $member }))
        }
    }
    if ($members) {
        "note: the group $groupName stays, because it has other members as well"
    } elseif (Test-Created "the group $groupName ($($group.Guid))") {
        Remove-DistributionGroup -Identity $group.DistinguishedName -Confirm:$false
        "removed: the group $groupName"
    }
}
if ($known -and (Test-Created 'the service principal in Exchange')) {
    Remove-ServicePrincipal -Identity $known.ObjectId -Confirm:$false
    'removed: the service principal in Exchange'
}
'note: the protocols of the mailboxes stay switched on, because other programs may use them. Set-CASMailbox switches them off.'
