"""The agent in a guest: a frontend in userspace, without a kernel driver.

`cli` reads the command line. `card` connects with the backend, and `pcm` is one stream of the card.
`play_record` plays and records files, which `soundfile_io` reads and writes. `serve` joins the card
with the guest's own audio server, which is `audio_server`.
"""
