# Created by `gatepost setup`. Sets up Exchange Online for Gatepost. exchange-undo.ps1 is the reverse.
param([Parameter(Mandatory)] [guid] $Application, [Parameter(Mandatory)] [guid] $Principal)
# Modules: ExchangeOnlineManagement (Install-Module gets them).
# Roles: Exchange Administrator, Organization Management.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'

$clientId = $Application.ToString()
$objectId = $Principal.ToString()
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

# ---- Exchange Online ----

Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovGCCHigh

# A misspelled mailbox, or the wrong organization, is found before the first change.
foreach ($mailbox in $mailboxes) {
    Get-CASMailbox -Identity $mailbox | Out-Null
}

# Exchange knows the application by the object id of its service principal. With a wrong one every login fails.
foreach ($wrong in @(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId -and $_.ObjectId -ne $objectId })) {
    Remove-ServicePrincipal -Identity $wrong.ObjectId -Confirm:$false
    "removed: the service principal with the wrong object id $($wrong.ObjectId)"
}
$known = @(@(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId }))[0]
if ($known) {
    'kept: the service principal in Exchange'
} else {
    $known = New-ServicePrincipal -AppId $clientId -ObjectId $objectId -DisplayName $name
    'created: the service principal in Exchange'
}
$names = @("$($known.Identity)", "$($known.Name)", "$($known.ObjectId)", "$($known.DisplayName)").Where({ $_ })

# Without Full Access an application opens no mailbox over IMAP and POP3.
foreach ($mailbox in $mailboxes) {
    if (@(Get-MailboxPermission -Identity $mailbox).Where({ $names -contains "$($_.User)" -and "$($_.AccessRights)" -match 'FullAccess' })) {
        "kept: Full Access to $mailbox"
    } else {
        Add-MailboxPermission -Identity $mailbox -User $known.Identity -AccessRights FullAccess | Out-Null
        "created: Full Access to $mailbox"
    }
}

foreach ($mailbox in $mailboxes) {
    if (@(Get-RecipientPermission -Identity $mailbox).Where({ $names -contains "$($_.Trustee)" -and "$($_.AccessRights)" -match 'SendAs' })) {
        "kept: SendAs for $mailbox"
    } else {
        Add-RecipientPermission -Identity $mailbox -Trustee $known.Identity -AccessRights SendAs -Confirm:$false | Out-Null
        "created: SendAs for $mailbox"
    }
}

# Roles of Exchange (RBAC for Applications) for the members of one group. They need the role Organization Management.
$group = @(@(Get-DistributionGroup -Identity $groupName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $groupName }))[0]
if ($group) {
    "kept: the group $groupName"
} else {
    $group = New-DistributionGroup -Name $groupName -Type Security
    "created: the group $groupName"
}
$members = @(Get-DistributionGroupMember -Identity $group.DistinguishedName -ResultSize Unlimited)
foreach ($mailbox in $mailboxes) {
    if ($members.Where({ "$($_.PrimarySmtpAddress)" -eq $mailbox })) {
        "kept: $mailbox in the group"
    } else {
        Add-DistributionGroupMember -Identity $group.DistinguishedName -Member $mailbox
        "created: $mailbox in the group"
    }
}
foreach ($other in $members.Where({ $mailboxes -notcontains "$($_.PrimarySmtpAddress)" })) {
    "warning: $($other.PrimarySmtpAddress) is in the group as well, so the application reaches it."
}
$filter = "MemberOfGroup -eq '" + $group.DistinguishedName.Replace("'", "''") + "'"
$scope = @(@(Get-ManagementScope -Identity $scopeName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $scopeName }))[0]
if (-not $scope) {
    New-ManagementScope -Name $scopeName -RecipientRestrictionFilter $filter | Out-Null
    "created: the scope $scopeName"
} elseif ("$($scope.RecipientFilter)".Contains($group.DistinguishedName)) {
    "kept: the scope $scopeName"
} else {
    throw "The scope $scopeName exists with another filter. Choose another --name."
}
foreach ($role in $roles) {
    $assignmentName = $role.Name
    if (@(Get-ManagementRoleAssignment -Identity $assignmentName -ErrorAction SilentlyContinue).Where({ $_.Name -eq $assignmentName })) {
        "kept: the role $($role.Role)"
    } else {
        New-ManagementRoleAssignment -Name $assignmentName -Role $role.Role -App $clientId -CustomResourceScope $scopeName | Out-Null
        "created: the role $($role.Role)"
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
if ($allowed -contains $clientId) {
    'kept: the entry in the EWS allow list'
} else {
    Set-OrganizationConfig -EwsAllowedAppIDs (($allowed + $clientId) -join ',')
    'changed: the EWS allow list has the application'
}
if ($organization.EwsEnabled -eq $false) {
    Set-OrganizationConfig -EwsEnabled $true
    'changed: EWS is on for the applications of the list'
} elseif ($null -eq $organization.EwsEnabled) {
    'note: EwsEnabled is not set, so the list has no effect yet. Microsoft ends that state. Set-OrganizationConfig -EwsEnabled $true lets only listed applications in.'
}

'Exchange may need up to two hours before it sees a new right. Then run gatepost doctor.'
