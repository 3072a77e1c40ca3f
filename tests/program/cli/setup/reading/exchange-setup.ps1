# Created by `gatepost setup`. Sets up Exchange Online for Gatepost. exchange-undo.ps1 is the reverse.
param([Parameter(Mandatory)] [guid] $Application, [Parameter(Mandatory)] [guid] $Principal, [switch] $TurnOnEws)
# Module: ExchangeOnlineManagement (Install-Module gets it).
# Roles: Exchange Administrator, Organization Management.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'
# Commands of modules do not see that variable, but this default reaches them.
$PSDefaultParameterValues = @{ '*:ErrorAction' = 'Stop' }

$clientId = $Application.ToString()
$objectId = $Principal.ToString()
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

# What is created is noted in a file beside this script, so that the reverse removes nothing else. Keep it.
$record = Join-Path -Path $PSScriptRoot -ChildPath $recordName

function Add-Created([string] $What) {
    Add-Content -LiteralPath $record -Value "$clientId $What" -Encoding UTF8
    "created: $What"
}

# ---- Exchange Online ----

Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovGCCHigh

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

# Without Full Access an application opens no mailbox over IMAP and POP3. Exchange warns if it has it already.
foreach ($mailbox in $mailboxes) {
    Add-MailboxPermission -Identity $mailbox -User $known.Identity -AccessRights FullAccess -WarningVariable warnings -WarningAction SilentlyContinue | Out-Null
    if ($warnings) { "kept: Full Access to $mailbox" } else { Add-Created "Full Access to $mailbox" }
}

foreach ($mailbox in $mailboxes) {
    Add-RecipientPermission -Identity $mailbox -Trustee $known.Identity -AccessRights SendAs -Confirm:$false -WarningVariable warnings -WarningAction SilentlyContinue | Out-Null
    if ($warnings) { "kept: SendAs for $mailbox" } else { Add-Created "SendAs for $mailbox" }
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

# The list of applications that may use EWS. It is replaced as a whole, so the entries that are there are kept.
$organization = Get-OrganizationConfig -RetrieveEwsOperationAccessPolicy
$allowed = @(($organization.EwsAllowedAppIDs -join ',') -split '[,\s]+').Where({ $_ })
$others = @($allowed.Where({ $_ -ne $clientId }))
if ($organization.EwsEnabled -eq $false -and -not $TurnOnEws) {
    throw "EWS is off for the tenant. Run this again with -TurnOnEws to turn it on for Gatepost and what the list has already: $($others -join ', ')"
}
if ($allowed -contains $clientId) {
    'kept: the entry in the EWS allow list'
} elseif ($others -or $organization.EwsEnabled -eq $false) {
    Set-OrganizationConfig -EwsAllowedAppIDs (($others + $clientId) -join ',')
    Add-Created 'the entry in the EWS allow list'
} else {
    "warning: the EWS allow list is empty and stays empty, because a list with Gatepost alone shuts out all other applications. To restrict EWS, write all of them: Set-OrganizationConfig -EwsAllowedAppIDs 'ID,ID,$clientId'"
}
if ($organization.EwsEnabled -eq $false) {
    Set-OrganizationConfig -EwsEnabled $true
    Add-Created 'EWS for the tenant'
} elseif ($null -eq $organization.EwsEnabled) {
    'warning: EwsEnabled is not set, so the list has no effect yet. Microsoft turns EWS off in such tenants. Set-OrganizationConfig -EwsEnabled $true lets only listed applications in.'
}

'Exchange may need up to two hours before it sees a new right. Then run gatepost doctor.'
