if ($known -and (Test-Created 'the service principal in Exchange')) {
    Remove-ServicePrincipal -Identity $known.ObjectId -Confirm:$false
    'removed: the service principal in Exchange'
}
