
# ---- Exchange Online ----

