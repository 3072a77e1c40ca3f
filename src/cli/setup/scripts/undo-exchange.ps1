
$known = @(@(Get-ServicePrincipal).Where({ $_.AppId -eq $clientId }))[0]
