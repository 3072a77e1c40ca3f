
$configuration = Join-Path -Path $PSScriptRoot -ChildPath $configurationName
if (Test-Path -LiteralPath $configuration) {
    $text = [IO.File]::ReadAllText($configuration)
    if ($text.Contains($placeholder)) {
        [IO.File]::WriteAllText($configuration, $text.Replace($placeholder, $clientId))
        "changed: $configurationName has the application ID"
    }
}
"Object ID of the service principal: $objectId"
