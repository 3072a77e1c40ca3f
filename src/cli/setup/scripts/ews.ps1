
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
