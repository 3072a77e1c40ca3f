# Created by `gatepost setup`. Sets up Exchange Online for Gatepost. exchange-undo.ps1 is the reverse.
param([Parameter(Mandatory)] [guid] $Application, [Parameter(Mandatory)] [guid] $Principal)
# Module: ExchangeOnlineManagement (Install-Module gets it).
# Roles: Exchange Administrator, Organization Management.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'
# Commands of modules do not see that variable, but this default reaches them.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }

$clientId = $Application.ToString()
$objectId = $Principal.ToString()
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

# Exchange knows the application by the object id of its service principal. With a wrong one every login fails.
$known = @(@(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId }))[0]
if ($known -and $known.ObjectId -ne $objectId) {
    throw "Exchange has the object id $($known.ObjectId) for the application, but $objectId was given. Entra shows the right one under Enterprise applications. If the first is wrong, run: Remove-ServicePrincipal -Identity $($known.ObjectId)"
}
if ($known) {
    'kept: the service principal in Exchange'
} else {
    $known = New-ServicePrincipal -AppId $clientId -ObjectId $objectId -DisplayName $name
    if (-not $known) { throw 'Exchange has not created the service principal.' }
    Add-Created 'the service principal in Exchange'
}

# Roles of Exchange (RBAC for Applications) for the members of one group. They need the role Organization Management.
$group = @(@(Get-DistributionGroup -Identity $groupName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $groupName }))[0]
if ($group) {
    "kept: the group $groupName"
} else {
    $group = New-DistributionGroup -Name $groupName -Type Security
    Add-Created "the group $groupName ($($group.Guid))"
}
$members = @(Get-DistributionGroupMember -Identity $group.DistinguishedName -ResultSize Unlimited)
foreach ($mailbox in $mailboxes) {
    if ($members.DistinguishedName -contains $distinguishedNames[$mailbox]) {
        "kept: $mailbox in the group"
    } else {
        Add-DistributionGroupMember -Identity $group.DistinguishedName -Member $distinguishedNames[$mailbox]
        Add-Created "$mailbox in the group"
    }
}
foreach ($other in $members.Where({ $distinguishedNames.Values -notcontains $_.DistinguishedName })) {
    "warning: $($other.PrimarySmtpAddress) is in the group as well, so the application reaches it."
}
$filter = "MemberOfGroup -eq '" + $group.DistinguishedName.Replace("'", "''") + "'"
$scope = @(@(Get-ManagementScope -Identity $scopeName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $scopeName }))[0]
if (-not $scope) {
    $scope = New-ManagementScope -Name $scopeName -RecipientRestrictionFilter $filter
    Add-Created "the scope $scopeName ($($scope.Guid))"
} elseif ("$($scope.RecipientFilter)".Contains($group.DistinguishedName)) {
    "kept: the scope $scopeName"
} else {
    throw "The scope $scopeName exists with another filter. Choose another --name."
}
$ids = @($clientId, $objectId, "$($known.Identity)")
foreach ($role in $roles) {
    $assignmentName = $role.Name
    $assignment = @(@(Get-ManagementRoleAssignment -Identity $assignmentName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $assignmentName }))[0]
    if (-not $assignment) {
        $assignment = New-ManagementRoleAssignment -Name $assignmentName -Role $role.Role -App $clientId -CustomResourceScope $scopeName
        Add-Created "the role $($role.Role) ($($assignment.Guid))"
    } elseif ("$($assignment.CustomResourceScope)" -eq $scopeName -and @($assignment.App, $assignment.RoleAssignee, $assignment.RoleAssigneeName).Where({ $ids -contains "$_" })) {
        "kept: the role $($role.Role)"
    } else {
        throw "The role assignment $assignmentName exists for another application or scope. Choose another --name."
    }
}
Test-ServicePrincipalAuthorization -Identity $known.Identity -Resource $mailboxes[0] | Format-Table

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
