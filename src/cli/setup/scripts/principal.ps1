
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
