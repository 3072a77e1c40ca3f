
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
