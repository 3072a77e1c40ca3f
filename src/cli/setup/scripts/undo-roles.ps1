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
