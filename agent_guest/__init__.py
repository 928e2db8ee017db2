"""The agent in a guest: a frontend in userspace, with no kernel driver and no module to compile.

card.py finds the guest's sound card and negotiates with the backend, pcm.py is one stream of it;
playing.py and recording.py move files, desktop.py joins the card with the guest's audio server.
"""
