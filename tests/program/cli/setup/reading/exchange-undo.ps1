# Created by `gatepost setup`. Removes from Exchange Online what the script for Gatepost has created. exchange-setup.ps1 is the reverse.
param([Parameter(Mandatory)] [guid] $Application)
# Module: ExchangeOnlineManagement (Install-Module gets it).
# Roles: Exchange Administrator, Organization Management.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'
# Commands of modules do not see that variable, but this default reaches them.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }

$clientId = $Application.ToString()
$tenant = 'contoso.onmicrosoft.us'
$recordName = 'exchange-created.txt'
$name = 'Ticket system'
$mailboxes = @(
    'tickets@contoso.com'
)
$protocols = @('imap', 'smtp', 'ews')
$groupName = 'Ticket system mailboxes'
$scopeName = 'Ticket system scope'
$roles = @(
    @{ Role = 'Application EWS.AccessAsApp'; Name = 'Ticket system EWS.AccessAsApp' }
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

Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovGCCHigh

$organization = "$((Get-AcceptedDomain).DomainName)".Split(' ') + "$(@(Get-ConnectionInformation)[-1].TenantID)"
if ($organization -notcontains $tenant) {
    throw "Exchange Online is signed in at another organization than $tenant. Run Disconnect-ExchangeOnline, then this script again."
}

$known = @(@(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId }))[0]
if ($known) {
    foreach ($mailbox in $mailboxes.Where({ Get-CASMailbox -Identity $_ -ErrorAction SilentlyContinue })) {
        if (Test-Created "Full Access to $mailbox") {
            Remove-MailboxPermission -Identity $mailbox -User $known.Identity -AccessRights FullAccess -Confirm:$false
            "removed: Full Access to $mailbox"
        }
        if (Test-Created "SendAs for $mailbox") {
            Remove-RecipientPermission -Identity $mailbox -Trustee $known.Identity -AccessRights SendAs -Confirm:$false
            "removed: SendAs for $mailbox"
        }
    }
}
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
$organization = Get-OrganizationConfig -RetrieveEwsOperationAccessPolicy
$allowed = @(($organization.EwsAllowedAppIDs -join ',') -split '[,\s]+').Where({ $_ })
if ($allowed -contains $clientId -and (Test-Created 'the entry in the EWS allow list')) {
    $others = @($allowed.Where({ $_ -ne $clientId }))
    if ($others) {
        Set-OrganizationConfig -EwsAllowedAppIDs ($others -join ',')
        'removed: the entry in the EWS allow list'
    } else {
        'note: the application stays the only entry of the EWS allow list, because an empty list lets every application in.'
    }
}
if ($created -contains "$clientId EWS for the tenant") {
    'note: EWS stays on for the tenant, although it was off before. Set-OrganizationConfig -EwsEnabled $false turns it off for all applications.'
}
if ($known -and (Test-Created 'the service principal in Exchange')) {
    Remove-ServicePrincipal -Identity $known.ObjectId -Confirm:$false
    'removed: the service principal in Exchange'
}
'note: the protocols of the mailboxes stay switched on, because other programs may use them. Set-CASMailbox switches them off.'
