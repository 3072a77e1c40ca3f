
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
