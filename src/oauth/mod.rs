//! Tokens of Microsoft Entra ID: grants, answers, error classes, the cache in front, one request for all waiters.
//! Which protocol asked is not known here.
