"""Ends of jobs, told to whoever asked for it (Standard Webhooks): where to, how, and the threads that do it."""
