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
