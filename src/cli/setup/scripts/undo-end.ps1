'note: the protocols of the mailboxes stay switched on, because other programs may use them. Set-CASMailbox switches them off.'
