"""The agent in dom0, or in an audio domain: devices, sessions, policy at use, audit.

agent.py ties it together and owns the event loop; device.py is one guest's card, stream.py one
stream of it, mixer.py the guest as the audio server sees it.
"""
