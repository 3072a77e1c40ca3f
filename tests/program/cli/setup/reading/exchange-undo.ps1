# Created by `gatepost setup`. Removes from Exchange Online what the script for Gatepost has created. exchange-setup.ps1 is the reverse.
param([Parameter(Mandatory)] [guid] $Application)
# Modules: ExchangeOnlineManagement (Install-Module gets them).
# Roles: Exchange Administrator, Organization Management.
# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'

$clientId = $Application.ToString()
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

if ($clientId) {
    $known = @(@(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId }))[0]
}
if ($known) {
    $names = @("$($known.Identity)", "$($known.Name)", "$($known.ObjectId)", "$($known.DisplayName)").Where({ $_ })
    foreach ($mailbox in $mailboxes) {
        if (@(Get-MailboxPermission -Identity $mailbox).Where({ $names -contains "$($_.User)" -and "$($_.AccessRights)" -match 'FullAccess' })) {
            Remove-MailboxPermission -Identity $mailbox -User $known.Identity -AccessRights FullAccess -Confirm:$false
            "removed: Full Access to $mailbox"
        }
        if (@(Get-RecipientPermission -Identity $mailbox).Where({ $names -contains "$($_.Trustee)" -and "$($_.AccessRights)" -match 'SendAs' })) {
            Remove-RecipientPermission -Identity $mailbox -Trustee $known.Identity -AccessRights SendAs -Confirm:$false
            "removed: SendAs for $mailbox"
        }
    }
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
$organization = Get-OrganizationConfig -RetrieveEwsOperationAccessPolicy
$allowed = @(($organization.EwsAllowedAppIDs -join ',') -split '[,\s]+').Where({ $_ })
if ($clientId -and $allowed -contains $clientId) {
    $others = @($allowed.Where({ $_ -ne $clientId }))
    if ($others) {
        Set-OrganizationConfig -EwsAllowedAppIDs ($others -join ',')
        'removed: the entry in the EWS allow list'
    } else {
        'note: the application stays the only entry of the EWS allow list, because an empty list lets every application in.'
    }
}
if ($known) {
    Remove-ServicePrincipal -Identity $known.ObjectId -Confirm:$false
    'removed: the service principal in Exchange'
}
'note: the protocols of the mailboxes stay switched on, because other programs may use them. Set-CASMailbox switches them off.'
