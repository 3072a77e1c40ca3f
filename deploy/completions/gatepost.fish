# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_gatepost_global_optspecs
    string join \n c/config= set= log-format= log-level= h/help V/version
end

function __fish_gatepost_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_gatepost_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_gatepost_using_subcommand
    set -l cmd (__fish_gatepost_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c gatepost -n "__fish_gatepost_needs_command" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_needs_command" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_needs_command" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_needs_command" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_needs_command" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_needs_command" -s V -l version -d 'Print version'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "run" -d 'Run the service (default)'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "reload" -d 'Reload the configuration of the running service'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "check" -d 'Check configuration, files and addresses [without the network]'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "doctor" -d 'Test the way to each mailbox, name what fails'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "demo" -d 'Try Gatepost against an embedded Microsoft 365'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "login" -d 'Sign a person in for an account'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "logout" -d 'Delete a sign-in'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "status" -d 'Show service status and a link to the status page'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "sendmail" -d 'Send a message of a program, as sendmail does'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "cert" -d 'Create a local CA and a server certificate'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "import" -d 'Convert the configuration of another proxy'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "setup" -d 'Set up tenant and configuration with least privilege'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "password" -d 'Create, list and revoke device passwords'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "devices" -d 'List the clients that connected lately'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "account" -d 'Unlock an account after too many wrong passwords'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "queue" -d 'List, retry and discard messages of the queue'
complete -c gatepost -n "__fish_gatepost_needs_command" -f -a "state" -d 'Manage stored sign-ins and device passwords'
complete -c gatepost -n "__fish_gatepost_using_subcommand run" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand run" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand run" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand run" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand run" -l take-over -d 'Take over the sockets of the running service [it stops after its sessions]'
complete -c gatepost -n "__fish_gatepost_using_subcommand run" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand reload" -l socket -d 'Control socket of the service [default: from the configuration]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand reload" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand reload" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand reload" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand reload" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand reload" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand check" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand check" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand check" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand check" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand check" -l json -d 'Print one JSON object'
complete -c gatepost -n "__fish_gatepost_using_subcommand check" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l login -d 'Examine this account with its password [terminal or standard input; with `grant: password`]' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l from -d 'Tell what a client at this address meets' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l send-test -d 'Send a message from each mailbox to this address' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l socket -d 'Control socket of the service [default: from the configuration]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l send -d 'Send a message from each mailbox to itself'
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -l json -d 'Print one JSON object'
complete -c gatepost -n "__fish_gatepost_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand demo" -l port-base -d 'First of eight ports to listen on [default: 1143, 1110, 1587, 1443, 1444, 1025, 1026 and 9180; free ones if they are taken]' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand demo" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand login" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand login" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand login" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand login" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand login" -l device-code -d 'Sign in on any device with a code [default with `grant: device_code`]'
complete -c gatepost -n "__fish_gatepost_using_subcommand login" -l paste -d 'Sign in on another machine and paste the final address'
complete -c gatepost -n "__fish_gatepost_using_subcommand login" -l replace -d 'Allow a different user than last time'
complete -c gatepost -n "__fish_gatepost_using_subcommand login" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand logout" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand logout" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand logout" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand logout" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand logout" -l yes -d 'Do not ask for confirmation'
complete -c gatepost -n "__fish_gatepost_using_subcommand logout" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -l socket -d 'Control socket of the service [default: from the configuration]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -l json -d 'Print one JSON object'
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -l page -d 'Print only a link to the status page [valid once, for ten minutes]'
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -l ready -d 'Print readiness and set the exit code (for probes)'
complete -c gatepost -n "__fish_gatepost_using_subcommand status" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand sendmail" -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand cert" -l directory -d 'Directory for the files' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand cert" -l host -d 'Another name or address of this machine (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand cert" -l days -d 'Validity of the server certificate in days' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand cert" -l key -d 'Kind of key [rsa is for old devices]' -r -f -a "p256\t'ECDSA with the curve P-256'
rsa\t'RSA with 3,072 bits, for clients that know no other signatures'"
complete -c gatepost -n "__fish_gatepost_using_subcommand cert" -l force -d 'Replace the server certificate, keep the CA'
complete -c gatepost -n "__fish_gatepost_using_subcommand cert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l format -d 'Program of the file [default: found by its content]' -r -f -a "email-oauth2-proxy\t'emailproxy.config'
davmail\t'davmail.properties'
genesys\t'E-mail Server options (.cfg)'
smtp-oauth-relay\t'environment file'"
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -s o -l output -d 'Write to this file [default: standard output]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l write-secrets -d 'Write the secrets into files in this directory' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l tenant -d 'Directory ID or domain, if the file names none' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l client-id -d 'Application ID, if the file names none' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l mailbox -d 'Mailbox, if the file names none (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l allow-from -d 'Let clients of this network connect (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l certificate -d 'Certificate chain of the listeners (PEM)' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l private-key -d 'Private key of the certificate (PEM)' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l force -d 'Replace files that exist'
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -l incomplete -d 'Write the file even if `check` refuses it'
complete -c gatepost -n "__fish_gatepost_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l tenant -d 'Directory ID or verified domain' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l cloud -d 'worldwide, us-gov-gcc-high, us-gov-dod or china [default: worldwide]' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l protocol -d 'Protocol of the programs: imap, pop3, smtp, ews or graph (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l mailbox -d 'Mailbox that the programs use (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l send-only -d 'Programs send and never read [yes or no]' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l graph-for -d 'What programs do over Graph' -r -f -a "send\t'send, and read nothing'
read\t'read, and change or send nothing'
both\t'send, read and change'"
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l sign-in -d 'Who signs in at Microsoft' -r -f -a "nobody\t'a server works alone'
person\t'somebody signs in once for each mailbox, also with MFA'
password\t'programs keep the Microsoft password, without MFA'"
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l name -d 'Name of the application in Entra [default: Gatepost]' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l client-id -d 'Application ID, if the application exists' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l allow-from -d 'Let clients of this network connect (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l tls -d 'TLS towards clients, with a local certificate [default: none]' -r -f -a "none\t'Without'
implicit\t'TLS from the first byte'
starttls\t'`STARTTLS` or `STLS`'"
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l host -d 'Name or address of this machine for that certificate (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l state -d 'State directory of the service [default: /var/lib/gatepost]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l script -d 'Language of the script for the tenant [default: powershell]' -r -f -a "powershell\t'Graph PowerShell and Exchange Online PowerShell'
az\t'Azure CLI, and PowerShell for Exchange Online'"
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l answers -d 'Take further answers from this YAML file' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l graph-token -d 'Set up Entra with the token that this command prints [run without a shell]' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l graph -d 'Microsoft Graph server [default: by cloud]' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l replace -d 'Replace configuration and scripts that exist'
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l renew-key -d 'Replace the application\'s key and certificate'
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -l yes -d 'Do not ask for confirmation'
complete -c gatepost -n "__fish_gatepost_using_subcommand setup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and not __fish_seen_subcommand_from add list revoke hash" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and not __fish_seen_subcommand_from add list revoke hash" -f -a "add" -d 'Create a device password and print it once'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and not __fish_seen_subcommand_from add list revoke hash" -f -a "list" -d 'List device passwords and their last use'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and not __fish_seen_subcommand_from add list revoke hash" -f -a "revoke" -d 'Revoke a device password and end its sessions'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and not __fish_seen_subcommand_from add list revoke hash" -f -a "hash" -d 'Print the hash of a password for `passwords` [read from standard input]'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -l name -d 'Name in lists and logs [such as "Scanner, 3rd floor"]' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -l protocol -d 'Allow only this protocol: imap, pop3, smtp, ews or graph (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -l from -d 'Allow only this network, such as 192.168.7.0/24 (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -l expires -d 'Expire at this day (2027-01-31, UTC) or after this time (90d, 12h)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -l chosen -d 'Choose the password [terminal or standard input; 12 characters at least, with `--from` 8]'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from list" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from list" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from list" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from list" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from list" -l json -d 'Print a JSON array'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from revoke" -l login -d 'User name of the account, or an alias' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from revoke" -l name -d 'Name of the password (with --login)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from revoke" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from revoke" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from revoke" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from revoke" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from hash" -l generate -d 'Generate a password and print it with its hash'
complete -c gatepost -n "__fish_gatepost_using_subcommand password; and __fish_seen_subcommand_from hash" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -l since -d 'List what connected since this day (2026-12-01, UTC) or within this time (7d, 12h)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -l trusted-sender -d 'Print a rule in `trusted_senders` for this address' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -l json -d 'Print a JSON array'
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -l csv -d 'Print comma-separated values with a header'
complete -c gatepost -n "__fish_gatepost_using_subcommand devices" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand account; and not __fish_seen_subcommand_from unlock" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand account; and not __fish_seen_subcommand_from unlock" -f -a "unlock" -d 'Forget the wrong passwords of an account'
complete -c gatepost -n "__fish_gatepost_using_subcommand account; and __fish_seen_subcommand_from unlock" -l socket -d 'Control socket of the service [default: from the configuration]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand account; and __fish_seen_subcommand_from unlock" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand account; and __fish_seen_subcommand_from unlock" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand account; and __fish_seen_subcommand_from unlock" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand account; and __fish_seen_subcommand_from unlock" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand account; and __fish_seen_subcommand_from unlock" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and not __fish_seen_subcommand_from list show retry discard export" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and not __fish_seen_subcommand_from list show retry discard export" -f -a "list" -d 'List the messages and why they wait'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and not __fish_seen_subcommand_from list show retry discard export" -f -a "show" -d 'Show all that is known about a message'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and not __fish_seen_subcommand_from list show retry discard export" -f -a "retry" -d 'Try messages again now'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and not __fish_seen_subcommand_from list show retry discard export" -f -a "discard" -d 'Delete messages without sending them'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and not __fish_seen_subcommand_from list show retry discard export" -f -a "export" -d 'Write a message as its device sent it'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from list" -l state -d 'List only messages in this state (repeatable)' -r -f -a "waiting\t'tried when it is due'
sending\t'being sent'
looking\t'perhaps sent, looked up in Sent Items'
failed\t'not sent, waits for a person'
unknown\t'perhaps sent, waits for a person'
sent\t'sent, kept for `queue.keep_sent`'"
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from list" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from list" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from list" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from list" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from list" -l json -d 'Print a JSON array'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from show" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from show" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from show" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from show" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from retry" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from retry" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from retry" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from retry" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from retry" -l all-failed -d 'Try all failed messages [not those of unknown outcome]'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from discard" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from discard" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from discard" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from discard" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from discard" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from export" -s o -l output -d 'Write to this new file [default: standard output]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from export" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from export" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from export" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from export" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand queue; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand state; and not __fish_seen_subcommand_from rotate-key" -s h -l help -d 'Print help'
complete -c gatepost -n "__fish_gatepost_using_subcommand state; and not __fish_seen_subcommand_from rotate-key" -f -a "rotate-key" -d 'Encrypt everything with a new state key [the service may run]'
complete -c gatepost -n "__fish_gatepost_using_subcommand state; and __fish_seen_subcommand_from rotate-key" -s c -l config -d 'Configuration file [default: proxy.yaml]' -r -F
complete -c gatepost -n "__fish_gatepost_using_subcommand state; and __fish_seen_subcommand_from rotate-key" -l set -d 'Set one key, over file and environment (repeatable)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand state; and __fish_seen_subcommand_from rotate-key" -l log-format -d 'Log format: text, json or journal (same as --set log.format=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand state; and __fish_seen_subcommand_from rotate-key" -l log-level -d 'Log level: error, warn, info, debug or trace (same as --set log.level=…)' -r
complete -c gatepost -n "__fish_gatepost_using_subcommand state; and __fish_seen_subcommand_from rotate-key" -s h -l help -d 'Print help'
