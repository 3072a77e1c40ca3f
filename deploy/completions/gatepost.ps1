
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'gatepost' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'gatepost'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'gatepost' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Run the service (default)')
            [CompletionResult]::new('reload', 'reload', [CompletionResultType]::ParameterValue, 'Reload the configuration of the running service')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Check configuration, files and addresses [without the network]')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Test the way to each mailbox, name what fails')
            [CompletionResult]::new('demo', 'demo', [CompletionResultType]::ParameterValue, 'Try Gatepost against an embedded Microsoft 365')
            [CompletionResult]::new('login', 'login', [CompletionResultType]::ParameterValue, 'Sign a person in for an account')
            [CompletionResult]::new('logout', 'logout', [CompletionResultType]::ParameterValue, 'Delete a sign-in')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show service status and a link to the status page')
            [CompletionResult]::new('sendmail', 'sendmail', [CompletionResultType]::ParameterValue, 'Send a message of a program, as sendmail does')
            [CompletionResult]::new('cert', 'cert', [CompletionResultType]::ParameterValue, 'Create a local CA and a server certificate')
            [CompletionResult]::new('import', 'import', [CompletionResultType]::ParameterValue, 'Convert the configuration of another proxy')
            [CompletionResult]::new('setup', 'setup', [CompletionResultType]::ParameterValue, 'Set up tenant and configuration with least privilege')
            [CompletionResult]::new('password', 'password', [CompletionResultType]::ParameterValue, 'Create, list and revoke device passwords')
            [CompletionResult]::new('devices', 'devices', [CompletionResultType]::ParameterValue, 'List the clients that connected lately')
            [CompletionResult]::new('account', 'account', [CompletionResultType]::ParameterValue, 'Unlock an account after too many wrong passwords')
            [CompletionResult]::new('queue', 'queue', [CompletionResultType]::ParameterValue, 'List, retry and discard messages of the queue')
            [CompletionResult]::new('state', 'state', [CompletionResultType]::ParameterValue, 'Manage stored sign-ins and device passwords')
            break
        }
        'gatepost;run' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--take-over', '--take-over', [CompletionResultType]::ParameterName, 'Take over the sockets of the running service [it stops after its sessions]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;reload' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'Control socket of the service [default: from the configuration]')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;check' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;doctor' {
            [CompletionResult]::new('--login', '--login', [CompletionResultType]::ParameterName, 'Examine this account with its password [terminal or standard input; with `grant: password`]')
            [CompletionResult]::new('--from', '--from', [CompletionResultType]::ParameterName, 'Tell what a client at this address meets')
            [CompletionResult]::new('--send-test', '--send-test', [CompletionResultType]::ParameterName, 'Send a message from each mailbox to this address')
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'Control socket of the service [default: from the configuration]')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--send', '--send', [CompletionResultType]::ParameterName, 'Send a message from each mailbox to itself')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;demo' {
            [CompletionResult]::new('--port-base', '--port-base', [CompletionResultType]::ParameterName, 'First of eight ports to listen on [default: 1143, 1110, 1587, 1443, 1444, 1025, 1026 and 9180; free ones if they are taken]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;login' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--device-code', '--device-code', [CompletionResultType]::ParameterName, 'Sign in on any device with a code [default with `grant: device_code`]')
            [CompletionResult]::new('--paste', '--paste', [CompletionResultType]::ParameterName, 'Sign in on another machine and paste the final address')
            [CompletionResult]::new('--replace', '--replace', [CompletionResultType]::ParameterName, 'Allow a different user than last time')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;logout' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;status' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'Control socket of the service [default: from the configuration]')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('--page', '--page', [CompletionResultType]::ParameterName, 'Print only a link to the status page [valid once, for ten minutes]')
            [CompletionResult]::new('--ready', '--ready', [CompletionResultType]::ParameterName, 'Print readiness and set the exit code (for probes)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;sendmail' {
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;cert' {
            [CompletionResult]::new('--directory', '--directory', [CompletionResultType]::ParameterName, 'Directory for the files')
            [CompletionResult]::new('--host', '--host', [CompletionResultType]::ParameterName, 'Another name or address of this machine (repeatable)')
            [CompletionResult]::new('--days', '--days', [CompletionResultType]::ParameterName, 'Validity of the server certificate in days')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'Kind of key [rsa is for old devices]')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Replace the server certificate, keep the CA')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'gatepost;import' {
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'Program of the file [default: found by its content]')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'Write to this file [default: standard output]')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Write to this file [default: standard output]')
            [CompletionResult]::new('--write-secrets', '--write-secrets', [CompletionResultType]::ParameterName, 'Write the secrets into files in this directory')
            [CompletionResult]::new('--tenant', '--tenant', [CompletionResultType]::ParameterName, 'Directory ID or domain, if the file names none')
            [CompletionResult]::new('--client-id', '--client-id', [CompletionResultType]::ParameterName, 'Application ID, if the file names none')
            [CompletionResult]::new('--mailbox', '--mailbox', [CompletionResultType]::ParameterName, 'Mailbox, if the file names none (repeatable)')
            [CompletionResult]::new('--allow-from', '--allow-from', [CompletionResultType]::ParameterName, 'Let clients of this network connect (repeatable)')
            [CompletionResult]::new('--certificate', '--certificate', [CompletionResultType]::ParameterName, 'Certificate chain of the listeners (PEM)')
            [CompletionResult]::new('--private-key', '--private-key', [CompletionResultType]::ParameterName, 'Private key of the certificate (PEM)')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Replace files that exist')
            [CompletionResult]::new('--incomplete', '--incomplete', [CompletionResultType]::ParameterName, 'Write the file even if `check` refuses it')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'gatepost;setup' {
            [CompletionResult]::new('--tenant', '--tenant', [CompletionResultType]::ParameterName, 'Directory ID or verified domain')
            [CompletionResult]::new('--cloud', '--cloud', [CompletionResultType]::ParameterName, 'worldwide, us-gov-gcc-high, us-gov-dod or china [default: worldwide]')
            [CompletionResult]::new('--protocol', '--protocol', [CompletionResultType]::ParameterName, 'Protocol of the programs: imap, pop3, smtp, ews or graph (repeatable)')
            [CompletionResult]::new('--mailbox', '--mailbox', [CompletionResultType]::ParameterName, 'Mailbox that the programs use (repeatable)')
            [CompletionResult]::new('--send-only', '--send-only', [CompletionResultType]::ParameterName, 'Programs send and never read [yes or no]')
            [CompletionResult]::new('--graph-for', '--graph-for', [CompletionResultType]::ParameterName, 'What programs do over Graph')
            [CompletionResult]::new('--sign-in', '--sign-in', [CompletionResultType]::ParameterName, 'Who signs in at Microsoft')
            [CompletionResult]::new('--name', '--name', [CompletionResultType]::ParameterName, 'Name of the application in Entra [default: Gatepost]')
            [CompletionResult]::new('--client-id', '--client-id', [CompletionResultType]::ParameterName, 'Application ID, if the application exists')
            [CompletionResult]::new('--allow-from', '--allow-from', [CompletionResultType]::ParameterName, 'Let clients of this network connect (repeatable)')
            [CompletionResult]::new('--tls', '--tls', [CompletionResultType]::ParameterName, 'TLS towards clients, with a local certificate [default: none]')
            [CompletionResult]::new('--host', '--host', [CompletionResultType]::ParameterName, 'Name or address of this machine for that certificate (repeatable)')
            [CompletionResult]::new('--state', '--state', [CompletionResultType]::ParameterName, 'State directory of the service [default: /var/lib/gatepost]')
            [CompletionResult]::new('--script', '--script', [CompletionResultType]::ParameterName, 'Language of the script for the tenant [default: powershell]')
            [CompletionResult]::new('--answers', '--answers', [CompletionResultType]::ParameterName, 'Take further answers from this YAML file')
            [CompletionResult]::new('--graph-token', '--graph-token', [CompletionResultType]::ParameterName, 'Set up Entra with the token that this command prints [run without a shell]')
            [CompletionResult]::new('--graph', '--graph', [CompletionResultType]::ParameterName, 'Microsoft Graph server [default: by cloud]')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--replace', '--replace', [CompletionResultType]::ParameterName, 'Replace configuration and scripts that exist')
            [CompletionResult]::new('--renew-key', '--renew-key', [CompletionResultType]::ParameterName, 'Replace the application''s key and certificate')
            [CompletionResult]::new('--yes', '--yes', [CompletionResultType]::ParameterName, 'Do not ask for confirmation')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'gatepost;password' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('add', 'add', [CompletionResultType]::ParameterValue, 'Create a device password and print it once')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List device passwords and their last use')
            [CompletionResult]::new('revoke', 'revoke', [CompletionResultType]::ParameterValue, 'Revoke a device password and end its sessions')
            [CompletionResult]::new('hash', 'hash', [CompletionResultType]::ParameterValue, 'Print the hash of a password for `passwords` [read from standard input]')
            break
        }
        'gatepost;password;add' {
            [CompletionResult]::new('--name', '--name', [CompletionResultType]::ParameterName, 'Name in lists and logs [such as "Scanner, 3rd floor"]')
            [CompletionResult]::new('--protocol', '--protocol', [CompletionResultType]::ParameterName, 'Allow only this protocol: imap, pop3, smtp, ews or graph (repeatable)')
            [CompletionResult]::new('--from', '--from', [CompletionResultType]::ParameterName, 'Allow only this network, such as 192.168.7.0/24 (repeatable)')
            [CompletionResult]::new('--expires', '--expires', [CompletionResultType]::ParameterName, 'Expire at this day (2027-01-31, UTC) or after this time (90d, 12h)')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--chosen', '--chosen', [CompletionResultType]::ParameterName, 'Choose the password [terminal or standard input; 12 characters at least, with `--from` 8]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;password;list' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print a JSON array')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;password;revoke' {
            [CompletionResult]::new('--login', '--login', [CompletionResultType]::ParameterName, 'User name of the account, or an alias')
            [CompletionResult]::new('--name', '--name', [CompletionResultType]::ParameterName, 'Name of the password (with --login)')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;password;hash' {
            [CompletionResult]::new('--generate', '--generate', [CompletionResultType]::ParameterName, 'Generate a password and print it with its hash')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;devices' {
            [CompletionResult]::new('--since', '--since', [CompletionResultType]::ParameterName, 'List what connected since this day (2026-12-01, UTC) or within this time (7d, 12h)')
            [CompletionResult]::new('--trusted-sender', '--trusted-sender', [CompletionResultType]::ParameterName, 'Print a rule in `trusted_senders` for this address')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print a JSON array')
            [CompletionResult]::new('--csv', '--csv', [CompletionResultType]::ParameterName, 'Print comma-separated values with a header')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;account' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('unlock', 'unlock', [CompletionResultType]::ParameterValue, 'Forget the wrong passwords of an account')
            break
        }
        'gatepost;account;unlock' {
            [CompletionResult]::new('--socket', '--socket', [CompletionResultType]::ParameterName, 'Control socket of the service [default: from the configuration]')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;queue' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the messages and why they wait')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show all that is known about a message')
            [CompletionResult]::new('retry', 'retry', [CompletionResultType]::ParameterValue, 'Try messages again now')
            [CompletionResult]::new('discard', 'discard', [CompletionResultType]::ParameterValue, 'Delete messages without sending them')
            [CompletionResult]::new('export', 'export', [CompletionResultType]::ParameterValue, 'Write a message as its device sent it')
            break
        }
        'gatepost;queue;list' {
            [CompletionResult]::new('--state', '--state', [CompletionResultType]::ParameterName, 'List only messages in this state (repeatable)')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print a JSON array')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'gatepost;queue;show' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;queue;retry' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('--all-failed', '--all-failed', [CompletionResultType]::ParameterName, 'Try all failed messages [not those of unknown outcome]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;queue;discard' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;queue;export' {
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'Write to this new file [default: standard output]')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Write to this new file [default: standard output]')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'gatepost;state' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('rotate-key', 'rotate-key', [CompletionResultType]::ParameterValue, 'Encrypt everything with a new state key [the service may run]')
            break
        }
        'gatepost;state;rotate-key' {
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Configuration file [default: proxy.yaml]')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Set one key, over file and environment (repeatable)')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Log format: text, json or journal (same as --set log.format=…)')
            [CompletionResult]::new('--log-level', '--log-level', [CompletionResultType]::ParameterName, 'Log level: error, warn, info, debug or trace (same as --set log.level=…)')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
