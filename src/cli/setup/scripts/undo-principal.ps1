if ($known) {
    Remove-ServicePrincipal -Identity $known.ObjectId -Confirm:$false
    'removed: the service principal in Exchange'
}
