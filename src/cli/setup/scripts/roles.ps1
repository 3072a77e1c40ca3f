
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
