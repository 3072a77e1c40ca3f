//! Who may log in: the account for a name, the proof of its password, the memory of refused and accepted passwords.
