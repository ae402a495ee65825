"""Evidence -> answer: text whose every statement cites an exact quote, or an abstention with its reason."""
