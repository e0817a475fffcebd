"""One child process for each device. Never imports torch."""
