# Every step looks before it changes something, so the script can run again.
$ErrorActionPreference = 'Stop'

