# For trying out: one small task, on Spot as far as it grows, behind a VPN, with a database and a cache there already.

deployment_name = "trial"
environment     = "dev"

vpc_id             = "vpc-0a1b2c3d4e5f67890"
public_subnet_ids  = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
private_subnet_ids = ["subnet-0bbbbbbbbbbbbbbb1", "subnet-0bbbbbbbbbbbbbbb2"]

internal        = true
domain_name     = "chat.trial.example.edu"
allowed_cidrs   = ["10.0.0.0/8"]
certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"

cpu           = 512
memory        = 1024
desired_count = 1
min_count     = 1
max_count     = 3
spot_percent  = 100
tracing       = false

database_url_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:trial/database-url-AbCdEf"
redis_url_secret_arn    = "arn:aws:secretsmanager:us-east-1:123456789012:secret:trial/redis-url-AbCdEf"
extra_egress = {
  database = { port = 5432, cidr = "10.1.2.0/24" }
  cache    = { port = 6379, cidr = "10.1.2.0/24" }
}
