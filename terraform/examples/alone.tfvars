# A deployment on its own: its VPC, PostgreSQL and Valkey are made, keys and groups live in its database.

deployment_name = "physics"
environment     = "staging"

domain_name     = "chat.physics.example.edu"
route53_zone_id = "Z0123456789ABCDEFGHIJ"

# OpenAI by key, and a model server in a network of your own.
extra_secrets     = { OPENAI_API_KEY = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai-AbCdEf" }
extra_environment = { OPENAI_MODELS = "gpt-4o,gpt-4o-mini" }

alarm_emails = ["operations@physics.example.edu"]
