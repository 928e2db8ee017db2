"""The agent in dom0, or in an audio domain: it serves guests' cards as policy allows.

agent.py ties it together and owns the event loop. Imports go down this list, never up:
control/, qubes/ and supervisor/ are what others see of it; cards/ are guests, their devices and
streams; access/ says who may play and record; audio/ is a guest at the audio server.
"""
