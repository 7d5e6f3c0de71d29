# As today: into the VPC of an Amplify platform, with its tables, buckets, queues, secrets and policies.

deployment_name = "uni"
environment     = "prod"

vpc_id             = "vpc-0a1b2c3d4e5f67890"
public_subnet_ids  = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
private_subnet_ids = ["subnet-0bbbbbbbbbbbbbbb1", "subnet-0bbbbbbbbbbbbbbb2"]

domain_name     = "chat.amplify.example.edu"
certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"

state_backend        = "dynamodb"
api_base_url         = "https://api.amplify.example.edu"
cognito_user_pool_id = "us-east-1_AbCdEfGhI"
cognito_client_id    = "1h57kf5cpq17m0eml12EXAMPLE"
idp_prefix           = "uni"
allowed_origins      = ["https://amplify.example.edu"]

platform_policy_arns = [
  "arn:aws:iam::123456789012:policy/amplify-uni-amplify-js-prod-iam-policy",
  "arn:aws:iam::123456789012:policy/amplify-uni-amplify-js-prod-bedrock-policy",
]
